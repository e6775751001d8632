"""Foreign audited models to Keras: ONNX graphs, PyTorch checkpoints, and a second opinion by onnx-tf."""
