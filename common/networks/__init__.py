"""Networks: backbones, hemispheres, and the macro-architectures made of them."""
