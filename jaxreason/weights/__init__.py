"""Published weights as safetensors files, to our parameters and back."""
