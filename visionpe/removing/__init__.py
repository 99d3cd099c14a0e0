"""Taking out the position a model has: `visionpe.remove`, and `visionpe.restore`.

What there is, `visionpe.inspect` says; nothing here knows a family of models by name.

    verbs     `remove`, `restore`
    ways      what each kind of source is read as, once it is removed
    seeing    whether a model still looks at its images
    turning   rotations: which tensors are sines, cosines, frequencies or wavelengths
    silent    modules that read some of their own tensors as others
"""
