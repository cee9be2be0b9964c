"""More than one machine, with Ray: batch scoring (`ray_data`) and replicas (`ray_serve`).

An engine has a group of cores of its own (`cores`); all engines of a node share one compiled plan
(`shared_model`).
"""
