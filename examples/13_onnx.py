"""Codes without torch and without simplecell: an ONNX file, onnxruntime and NumPy.

The file is what `simplecell convert RUN model.onnx --to onnx` writes; it takes samples in the
units of your data, the preparation is inside. Say
`python 13_onnx.py model.onnx rows.npy codes.npy`, or call `codes` from a program of your own.
"""

import sys

import numpy as np
import onnxruntime


def codes(model: str, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["codes"], {"x": x.astype(np.float32)})[0]


if __name__ == "__main__":
    model, rows, out = sys.argv[1:]
    np.save(out, codes(model, np.load(rows)))
