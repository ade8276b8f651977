"""Starting Jittor on CUDA: the toolkit, the patched copy, a check that everything compiles."""
