"""Statistics of ImageNet's RGB values in 0..1: every network here takes frames with these taken out."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
