"""The losses of the four GANs, weighted as published: hinge (Lim and Ye 2017), feature matching (pix2pixHD),
KL divergence, and SCGAN's on its side image. The one on VGG19's features is in vgg.py."""
from baselines.layers import mean
from runtime.backend import jt, nn


def halves(array):
    """(2B, ...) -> the first B, generated, and the last B, real."""
    batch = array.shape[0] // 2
    return array[:batch], array[batch:]


def generator_hinge(predictions):
    """predictions on generated and real images, (2B, 1, h, w) each -> the generator's loss: minus the mean on
    generated."""
    return -sum(mean(halves(p)[0]) for p in predictions) / len(predictions)


def discriminator_hinge(predictions):
    """-> the discriminator's losses on generated and on real images: mean max(0, 1 + p) and mean max(0, 1 -
    p)."""
    fake = sum(mean(nn.relu(1 + halves(p)[0])) for p in predictions) / len(predictions)
    real = sum(mean(nn.relu(1 - halves(p)[1])) for p in predictions) / len(predictions)
    return fake, real


def feature_matching(features, shared):
    """The mean absolute difference of the discriminator's features of generated and real images, summed over
    layers, divided by `shared`: the number of scales, or of fpse's features."""
    total = 0
    for found in features:
        for feature in found:
            fake, real = halves(feature)
            total = total + l1(fake, real.detach())
    return total / shared


def l1(a, b):
    """Mean absolute difference."""
    return mean(jt.abs(a - b))


def kl_divergence(mu, logvar):
    """Of N(mu, sigma) from N(0, 1), summed over the batch and all dimensions."""
    return -0.5 * (1 + logvar - mu * mu - jt.exp(logvar)).sum()
