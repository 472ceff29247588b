"""The PyTorch training loop and its components; independent of Ray and MLflow."""
