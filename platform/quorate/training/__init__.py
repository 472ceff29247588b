"""The PyTorch training loop and what varies in it; free of Ray and MLflow."""
