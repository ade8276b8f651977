"""PyTorch's side of benchmarks/torch_twin.py: the same work as benchmarks/twin_jittor.py, in the fastest of PyTorch's ways.

The ways differ in memory format, in weights cast beforehand or at each use, in one batch or two calls for guidance, and in
torch.compile's modes. They are tried one after the other on the machine at hand; each starts from the weights' file. All are
timed in no less than two runs after a warm-up, and what was found goes into the report. Runs in an environment that has
PyTorch and NumPy; needs nothing of this project but files beside it that need neither Jittor nor yaml.
"""
import contextlib
import gc
import math
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.torch_autoencoder import Autoencoder
from benchmarks.torch_metrics import MAKERS, drawn
from benchmarks.torch_unet import UNet
from benchmarks.turns import serve, timed
from runtime.memory import peak_memory

MODES = {  # of torch.compile
    "eager": None,
    "compile": {},
    "freezing": {"options": {"freezing": True}},        # weights laid out for the kernels beforehand; without gradient only
    "reduce-overhead": {"mode": "reduce-overhead"},     # CUDA graphs
    "max-autotune": {"mode": "max-autotune"},
}


class Twin:
    """One way at a time: `settings` {axis: choice}, `step` to run it."""

    def __init__(self):
        self.step, self.settings, self.device = None, {}, "cpu"

    def hello(self, device, threads):
        """What runs here; chooses the device for what follows."""
        if device == "cuda" and not torch.cuda.is_available():
            return {"problem": f"PyTorch {torch.__version__} of {sys.executable} sees no GPU"}
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False    # float32 rows mean float32
        self.device = device
        return {"version": torch.__version__, "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()}

    def draw(self, what, path):
        """Writes the weights of a network that scores, drawn by a seed."""
        np.savez(path, **{name: value.numpy() for name, value in drawn(what, 0).model.state_dict().items()})

    def prepare(self, what, job, dtype, modes, tries):
        """Tries PyTorch's ways to run `what`, makes ready the fastest -> {"settings", "tried": [settings and seconds]}."""
        self.what, self.job, self.dtype = what, job, dtype
        axes = {"layout": ["contiguous", "channels_last"]}
        if what != "train" and dtype == "bfloat16":
            axes["weights"] = ["cast at each use", "cast beforehand"]
        if what == "guided":
            axes["form"] = ["one batch", "two calls"]
        axes["mode"] = [mode for mode in modes if not (mode == "freezing" and what == "train")]
        tried = []

        def attempt(settings):
            taken = self.attempt(settings, tries)
            tried.append({**settings, **taken})
            print(f"PyTorch, {what}, {dtype}: {tried[-1]}", file=sys.stderr, flush=True)

        best = {axis: choices[0] for axis, choices in axes.items()}
        attempt(best)
        for axis, choices in axes.items():                              # the best choice of each axis, given those before
            for choice in choices[1:]:
                attempt({**best, axis: choice})
            fastest = min((found for found in tried if "seconds" in found), key=lambda found: found["seconds"], default=None)
            if fastest is None:
                raise RuntimeError(f"no way to run {what} in {dtype} works: {tried[0]['failed']}")
            best = {axis: fastest[axis] for axis in axes}
        self.build(best)
        return {"settings": {**best, **self.always()}, "tried": tried}

    def always(self):
        """What holds for every way."""
        common = {"attention": "scaled_dot_product_attention", "autocast": self.dtype == "bfloat16"}
        if self.what == "train":
            return {**common, "optimizer": "AdamW(fused=True)", "average": "torch._foreach_lerp_"}
        return {**common, "gradient": "inference_mode"}

    def attempt(self, settings, tries):
        """{"seconds": median} of one way, or {"failed": why}."""
        try:
            self.build(settings)
            self.run()
            return {"seconds": statistics.median(self.run()["seconds"] for _ in range(tries))}
        except Exception as error:                                      # such as no compiler for torch.compile
            lines = [line for line in str(error).splitlines() if line.strip()] or [""]
            return {"failed": f"{type(error).__name__}: {lines[0]}"}

    def build(self, settings):
        """Makes self.step for one way, from the weights' file."""
        self.step = None
        torch._dynamo.reset()                                           # and with it what another way had compiled
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.settings = settings
        if self.what in MAKERS:
            return self.build_scorer(settings)
        layout = torch.channels_last if settings["layout"] == "channels_last" else torch.contiguous_format
        dtype = torch.bfloat16 if settings.get("weights") == "cast beforehand" else torch.float32
        coding = self.what in ("encode", "decode")
        with torch.device("meta"):                                      # no memory until the weights come
            model = Autoencoder(**self.job["autoencoder"]) if coding else UNet(**unet_options(self.job))
        with np.load(self.job["autoencoder_weights" if coding else "weights"]) as weights:
            model.load_state_dict({name: torch.from_numpy(weights[name]).to(self.device, dtype) for name in weights.files},
                                  assign=True)
        model = model.to(memory_format=layout)
        with np.load(self.job["inputs"]) as inputs:
            z, z_0, eps, x = (torch.from_numpy(inputs[name]).to(self.device, memory_format=layout)
                              for name in ("z", "z_0", "eps", "x"))
            labels = torch.from_numpy(inputs["labels"]).to(self.device, torch.int64)
        t = torch.tensor(self.job["t"], device=self.device)
        compiled = lambda call: call if MODES[settings["mode"]] is None else torch.compile(
            call, dynamic=False, fullgraph=True, **MODES[settings["mode"]])
        if self.what == "train":
            self.step = training_step(model, compiled(losses(model, self.job["t"])), (z_0, eps, labels, t), self.job["train"])
        elif coding:
            call, given = compiled(getattr(model, self.what)), x if self.what == "encode" else z
            self.step = torch.inference_mode()(lambda: call(given))
        else:
            call = model if self.what == "forward" else guided(model, self.job["scale"], settings["form"] == "one batch")
            call, one = compiled(call), t[:1]
            self.step = torch.inference_mode()(lambda: call(z, one, labels))

    def build_scorer(self, settings):
        """The same for a network that scores."""
        layout = torch.channels_last if settings["layout"] == "channels_last" else torch.contiguous_format
        network = drawn(self.what, 0).to(self.device, memory_format=layout)
        with np.load(self.job["inputs"]) as inputs:
            x = torch.from_numpy(inputs[self.what]).to(self.device, memory_format=layout)
        call = network if MODES[settings["mode"]] is None else torch.compile(network, dynamic=False, **MODES[settings["mode"]])
        self.step = torch.inference_mode()(lambda: call(x))

    def run(self, save=None):
        """Runs once. save: a file for what came out."""
        def run():
            torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(self.device, torch.bfloat16) if self.dtype == "bfloat16" else contextlib.nullcontext():
                return self.step()
        seconds, cpu, out = timed(run, torch.cuda.synchronize if self.device == "cuda" else lambda: None)
        if save:
            np.save(save, out.float().cpu().numpy())
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_gb": peak_memory() / 1e9}


def unet_options(job):
    """What this U-Net is made with: its masks are resampled to the nearest pixel, the only way it has."""
    return {name: value for name, value in job["unet"].items() if name != "mask_resampling"}


def guided(model, scale, one_batch):
    """call(z, t, labels) -> eps_u + scale (eps_c - eps_u), (B, C, H, W), float32: in one batch of 2B or in two calls."""
    def together(z, t, labels):
        out = model(torch.cat([z, z]), t, torch.cat([labels, torch.full_like(labels, -1)]))
        return mix(*out[:, :z.shape[1]].float().chunk(2))

    def apart(z, t, labels):
        return mix(*(model(z, t, given)[:, :z.shape[1]].float() for given in (labels, torch.full_like(labels, -1))))

    mix = lambda eps_c, eps_u: eps_u + scale * (eps_c - eps_u)
    return together if one_batch else apart


def training_step(model, losses, batch, options):
    """step() -> losses (B,) of the batch: loss, gradients, AdamW, moving average of the weights."""
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=options["lr"], weight_decay=options["weight_decay"], fused=True)
    taken = 0

    def step():
        nonlocal taken
        loss = losses(*batch)
        with torch.autocast(loss.device.type, enabled=False):
            loss.mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - min(options["ema"], (1 + taken) / (10 + taken)))
        taken += 1
        return loss.detach()
    return step


def losses(model, steps):
    """call(z_0, eps, labels, t) -> (B,) float32: the squared error of the noise and the variational bound of the variance in
    bits, on the linear schedule of 1,000 steps (Nichol and Dhariwal 2021, L_hybrid with both weights 1)."""
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - betas)
    before = np.append(1, alpha_bar[:-1])
    posterior = betas * (1 - before) / (1 - alpha_bar)                  # variance of q(z_{t-1} | z_t, z_0)
    posterior[0] = posterior[1]
    low, high = np.log(posterior), np.log(betas)
    to_mean = betas * np.sqrt(before) / (1 - alpha_bar)                 # factor of z_0 in its mean
    tables = {"signal": np.sqrt(alpha_bar), "noise": np.sqrt(1 - alpha_bar), "ratio": np.sqrt((1 - alpha_bar) / alpha_bar),
              "half": (high - low) / 2, "low": low, "scaled": to_mean * np.exp(-low / 2)}
    device = next(model.parameters()).device
    c = {name: torch.tensor(table[steps], dtype=torch.float32, device=device)[:, None, None, None]
         for name, table in tables.items()}
    first = torch.tensor([step == 0 for step in steps], device=device)

    def call(z_0, eps, labels, t):
        channels = z_0.shape[1]
        out = model(c["signal"] * z_0 + c["noise"] * eps, t, labels).float()
        eps_hat, variance = out[:, :channels], out[:, channels:]
        mse = ((eps - eps_hat) ** 2).mean(dim=(1, 2, 3))
        if not variance.shape[1]:
            return mse
        error = (eps_hat.detach() - eps) * c["ratio"]                   # z_0 less its estimate
        above = (variance + 1) * c["half"]                              # log of the variances' ratio
        kl = 0.5 * (above - 1 + torch.exp(-above) * (1 + (error * c["scaled"]) ** 2))
        inverse = torch.exp(-0.5 * (above + c["low"]))
        upper, lower = normal_cdf(inverse * (error + 1 / 255)), normal_cdf(inverse * (error - 1 / 255))
        mass = torch.where(z_0 < -0.999, upper, torch.where(z_0 > 0.999, 1 - lower, upper - lower))
        nll = -torch.log(mass.clamp(min=1e-12))
        bound = torch.where(first, nll.mean(dim=(1, 2, 3)), kl.mean(dim=(1, 2, 3)))
        return mse + bound / math.log(2)
    return call


def normal_cdf(x):
    """The standard normal distribution function by tanh."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


if __name__ == "__main__":
    twin = Twin()
    serve({"hello": twin.hello, "draw": twin.draw, "prepare": twin.prepare, "run": twin.run})
