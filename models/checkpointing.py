"""Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), exact.

A block keeps its inputs alone; on the way back it is computed again and gives its gradients, which on a CPU are bit for
bit those of the plain network. What stays in memory: the inputs of the blocks, and the insides of one block at a time.
"""
import copy
from contextlib import nullcontext

from models.blocks import ResBlock, SDMResBlock
from models.kernels.turn import sizes
from models.spade import SegmentationMaps
from runtime.backend import jt, nn


class Recomputed(jt.Function):
    """One call of function(*inputs) -> one Var, and what it is computed from on the way back.

    Jittor follows the arguments of a Function only: so the parameters are arguments beside the inputs, although the
    function reads them from its modules.
    """

    def __init__(self, function, parameters, exact):
        super().__init__()
        # These, not the arguments: what a Function is given are copies on Jittor's tape, which the modules do not read.
        self.function, self.parameters, self.exact = function, parameters, exact

    def execute(self, *arrays):
        """arrays: the inputs, then the parameters."""
        self.inputs = arrays[:len(arrays) - len(self.parameters)]
        # Without a graph the insides are free at once. In 16 bits a CPU has other kernels within no_grad, and the way
        # back would not be that of the way there: then the graph is made, computed, and dropped.
        with jt.no_grad() if self.exact else nullcontext():
            y = self.function(*[array.detach() for array in self.inputs])
        if not self.exact:
            y = y.detach()
            y.sync()
        return y

    def grad(self, dy):
        """dy like y -> the gradients of all arguments."""
        inputs = [array.detach().start_grad() for array in self.inputs]
        y = self.function(*inputs)
        # y * dy is never computed: its gradient with respect to y is dy, exactly.
        found = jt.grad(y * dy.detach(), [*inputs, *self.parameters], retain_graph=False)
        self.inputs = None
        return found


def recompute(function, inputs, parameters, exact=True):
    """function(*inputs), computed again for its gradients. parameters: all that the function reads and that learns."""
    return Recomputed(function, parameters, exact)(*inputs, *parameters)


class CheckpointedUNet:
    """model(z, t, labels) of a UNet, as it and with its weights, whose numbered blocks are computed again on the way
    back. It wraps the network, which does not know of it."""

    def __init__(self, unet, exact=True):
        self.unet, self.exact = unet, exact
        self.twins = {id(block): Block(block) for block in
                      [*unet.input_blocks, unet.middle_block, *unet.output_blocks]}

    def __call__(self, z, t, labels):
        """As UNet."""
        unet = self.unet
        segmentation = SegmentationMaps(labels, unet.classes, unet.mask_resampling)
        emb, skips = unet.embed(t), []
        h = z
        for block in unet.input_blocks:
            h = self.run(block, [h], emb)
            skips.append(h)
        h = self.run(unet.middle_block, [h], emb, segmentation)
        for block, skip in zip(unet.output_blocks, reversed(skips)):
            h = self.run(block, [h, skip], emb, segmentation)        # joined inside: the two are kept anyway
        return unet.out[2](unet.out[0](h))

    def run(self, block, parts, emb, segmentation=None):
        """One numbered block on its input, given in parts along the channels."""
        twin = self.twins[id(block)]
        if not twin.rows_of:
            return self.unet.run(block, self.join(parts), emb, segmentation)
        # The rows of the timestep are made outside: within, the gradients of time_embed would be summed in another order.
        rows = [layer(emb) for layer in twin.rows_of]
        if segmentation is not None:                                 # the masks too, or each size would be made twice
            for factor in (1, 2) if twin.doubles else (1,):
                segmentation.at(sizes(parts[0], self.unet.join.last)[2] * factor)
        function = lambda *inputs: self.unet.run(
            twin.block, self.join(inputs[:len(parts)]), iter(inputs[len(parts):]), segmentation)
        return recompute(function, [*parts, *rows], twin.parameters, self.exact)

    def join(self, parts):
        """One or two arrays as one along the channels."""
        return parts[0] if len(parts) == 1 else self.unet.join(*parts)


class Block:
    """A numbered block of a U-Net in a copy that shares its weights and takes ready rows of the timestep: an iterator
    over them in the place of emb."""

    def __init__(self, block):
        self.block, self.rows_of, self.parameters, self.doubles = copy.copy(block), [], [], False
        for number in block._numbers:
            layer = block[number]
            own = dict(layer.named_parameters())
            if isinstance(layer, (ResBlock, SDMResBlock)):
                self.rows_of.append(layer.emb_layers[1])
                self.doubles |= isinstance(layer, SDMResBlock) and layer.doubles
                own = {name: p for name, p in own.items() if not name.startswith("emb_layers.")}
                layer = copy.copy(layer)
                layer.emb_layers = {1: next}
                setattr(self.block, str(number), layer)
            self.parameters += own.values()


class CheckpointedLayer:
    """A layer of one input, such as an autoencoder's residual block, computed again on the way back."""

    def __init__(self, layer, exact=True):
        self.layer, self.exact, self.parameters = layer, exact, list(layer.parameters())

    def __call__(self, x):
        """As the layer."""
        return recompute(self.layer, [x], self.parameters, self.exact)


def checkpointed_layers(model, kinds, exact=True):
    """A copy of a model, sharing its weights, whose layers of such classes are computed again on the way back."""
    twin = copy.copy(model)
    for name, child in vars(model).items():
        if isinstance(child, kinds):
            setattr(twin, name, CheckpointedLayer(child, exact))
        elif isinstance(child, nn.Module):
            setattr(twin, name, checkpointed_layers(child, kinds, exact))
    return twin
