// Stands in for CUDA's header on a CPU: play.h has the number types.
