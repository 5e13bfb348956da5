"""
Where a controller keeps what must outlive it.
"""
