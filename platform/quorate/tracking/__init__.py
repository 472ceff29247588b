"""Write a local journal, which never blocks training, and send it to MLflow."""
