"""Engines: what runs a bank. OpenVINO on a CPU, without torch; torch on CUDA, and where it must."""
