"""Texts: how they are read, identified, cut into windows, written and compared.

A text is one sample. A masked language model hides some of its tokens and predicts them back; what
it does not change stays as it was written. See `medium.Texts`.
"""
