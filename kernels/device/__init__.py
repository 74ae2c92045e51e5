"""Inner loops of training and sampling on torch tensors: a plain reference, a form for any device, Triton for CUDA."""
