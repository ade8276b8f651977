"""The challenge's train and test folders, found and checked."""
CLASSES = ("mountain", "sky", "water", "sea", "rock", "tree", "earth", "hill", "river", "sand", "land", "building",
           "grass", "plant", "person", "boat", "waterfall", "wall", "pier", "path", "lake", "bridge", "field", "road",
           "railing", "fence", "ship", "house", "other")
