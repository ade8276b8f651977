"""Cross-entropy of every pixel, the loss of a segmenter."""
from runtime.backend import jt


def cross_entropy(logits, labels):
    """logits (B, K, H, W), labels (B, H, W) int32, -1 where a pixel does not count -> {"loss": (B,)}, the
    mean over the pixels that count; 0 for an image without any."""
    assert list(logits.shape[:1] + logits.shape[2:]) == list(labels.shape), (logits.shape, labels.shape)
    batch, classes = logits.shape[:2]
    logits = logits - logits.max(1, keepdims=True).detach()
    chosen = jt.arange(classes).reshape(1, -1, 1, 1) == labels.unsqueeze(1)                # (B, K, H, W); of -1 none
    counts = labels >= 0
    loss = jt.log(jt.exp(logits).sum(1)) * counts - (logits * chosen).sum(1)               # (B, H, W)
    rows = lambda x: x.sum(2).sum(1)              # row by row: one long sum in float32 loses digits
    return {"loss": rows(loss) / jt.maximum(rows(counts.float32()), 1)}
