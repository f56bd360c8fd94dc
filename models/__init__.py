"""Shipped weights: safetensors files with their model cards. Data only; read through ``uadbench.engine``."""
