"""
One server in several processes: a front that has its lifecycle, and workers that have its traffic.
"""
