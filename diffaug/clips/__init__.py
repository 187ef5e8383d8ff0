"""Video clips: how they are read, identified, fitted to a model, written and compared.

A clip is one sample, with one row and one class, and its copies are clips of the same length, rate
and size. A model of pictures edits it frame by frame: see `medium.Clips`.
"""
