"""The networks that score pictures in PyTorch, as others use them: torchvision's Inception v3 with pytorch-fid's changes, and
transformers' SegFormer B3: peers in benchmarks/torch_twin.py. This file needs PyTorch, torchvision and transformers.
"""
import torch
import torch.nn.functional as F
from torch import nn


def inception():
    """Features (B, 2048) of x (B, 3, 299, 299): means over 3x3 windows leave out what lies beyond the border, and the last
    block takes a maximum in place of its mean (Seitzer, pytorch-fid)."""
    from torchvision.models import inception as published

    class BlockA(published.InceptionA):
        """Mixed_5b to 5d."""

        def _forward(self, x):
            return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)),
                    self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))), self.branch_pool(mean(x))]

    class BlockC(published.InceptionC):
        """Mixed_6b to 6e."""

        def _forward(self, x):
            wide = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
            twice = self.branch7x7dbl_5(self.branch7x7dbl_4(self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))))
            return [self.branch1x1(x), wide, twice, self.branch_pool(mean(x))]

    class BlockE(published.InceptionE):
        """Mixed_7b and 7c."""
        pool = staticmethod(lambda x: mean(x))

        def _forward(self, x):
            one = self.branch3x3_1(x)
            other = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            return [self.branch1x1(x), torch.cat([self.branch3x3_2a(one), self.branch3x3_2b(one)], 1),
                    torch.cat([self.branch3x3dbl_3a(other), self.branch3x3dbl_3b(other)], 1), self.branch_pool(self.pool(x))]

    model = published.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    for name, block in (("Mixed_5b", BlockA(192, 32)), ("Mixed_5c", BlockA(256, 64)), ("Mixed_5d", BlockA(288, 64)),
                        ("Mixed_6b", BlockC(768, 128)), ("Mixed_6c", BlockC(768, 160)), ("Mixed_6d", BlockC(768, 160)),
                        ("Mixed_6e", BlockC(768, 192)), ("Mixed_7b", BlockE(1280)), ("Mixed_7c", BlockE(2048))):
        setattr(model, name, block)
    model.Mixed_7c.pool = lambda x: F.max_pool2d(x, 3, 1, 1)
    return Features(model.eval())


def mean(x):
    """The mean over 3x3 windows, of what lies inside alone."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Features(nn.Module):
    """An Inception without its classifier; its tensors keep their names."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        """x (B, 3, 299, 299) -> (B, 2048)."""
        for name, layer in self.model.named_children():
            if name in ("avgpool", "dropout", "fc"):
                continue
            x = layer(x)
        return x.mean((2, 3))


def segformer():
    """Logits (B, 150, H/4, W/4) of x (B, 3, H, W): B3, ADE20K's classes."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    config = SegformerConfig(num_labels=150, depths=[3, 4, 18, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=768)
    return Logits(SegformerForSemanticSegmentation(config).eval())


class Logits(nn.Module):
    """A SegFormer's logits alone; its tensors keep their names."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        """x (B, 3, H, W) -> (B, 150, H/4, W/4)."""
        return self.model(pixel_values=x).logits


MAKERS = {"inception": inception, "segformer": segformer}


def drawn(what, seed):
    """The network with weights drawn by a seed, its statistics too, so that each shows in the outputs."""
    torch.manual_seed(seed)
    network = MAKERS[what]()
    for name, value in network.model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return network
