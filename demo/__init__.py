"""The whole picture in miniature, on the CPU, with synthetic landscapes."""
