"""The graph: a bank and its backbone come in, one ONNX graph goes out, from pixels to scores (§2).

It says again what ``network``, ``memory`` and ``scores`` do in torch, in public ONNX operators, and
needs numpy and onnx alone: engines without torch run it. ``model`` puts together what ``network``,
``patches``, ``search`` and ``scoring`` write by a ``writer``.
"""
