"""Pictures: files, frames and arrays come in, the backbone's input (H, W, 3) uint8 goes out.

The same for every command and device: decoded, turned upright, brought to 8 bits of RGB, resized,
cropped, brought to the light of a bank's pictures (float32 then); and read ahead in threads. Masks
go the same way. Which formats there are ``finding.kinds`` tells; what Pillow cannot do alone goes
to ``decoding``.
"""
