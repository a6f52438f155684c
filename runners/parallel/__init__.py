"""One run on several processes: who they are, what each computes, how gradients come together, how they are started."""
