"""Load on a server: open-loop arrivals, closed-loop clients, the point of saturation.

Latency starts when a request was meant to be sent, so a slow server cannot hide its queue by
slowing its clients down.
"""
