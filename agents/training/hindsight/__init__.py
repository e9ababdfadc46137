"""A teacher with hindsight: runs are tried at several peaks of a schedule, and a network learns which was best.

What a run observes says something about the rate it needs: whether its loss is noisy, whether its gradients agree,
how far its weights have moved. Equal seeds give runs that differ in the peak alone, so each trial tells, for one
task, how much every peak would have lost. The network is fitted to lose least on average; it is a plain supervised
problem, without the noise of a policy gradient. Later rounds try peaks around those that the network chose, early
in a run, late in it or throughout, so it also learns from what its own runs look like.
"""
