"""``python -m bench.doctor_matrix``: does ``mode=doctor`` name the fault of images that were spoiled in a known way?"""
