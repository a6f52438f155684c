"""What methods are made of: each module one part, usable by any method and known to none."""
