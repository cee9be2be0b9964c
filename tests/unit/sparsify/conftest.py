"""One thread for tiny networks: more of them only wait for each other on a busy machine."""

import torch

torch.set_num_threads(1)
