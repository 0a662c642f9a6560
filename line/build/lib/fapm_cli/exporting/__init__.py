"""Exporting: a bank → one ONNX file that judges pictures without fapm, proven to find the same.

The packages that this takes are an extra, ``fapm[export]``: they are imported where they are used.
"""
