"""What a model pads its maps with, changed in place and back: `visionpe.set_padding`.

modes       what lies beyond the edge of a map, mode by mode
windows     how far windows (convolutions, pools) reach beyond the edge
intercept   the function mode in which a module's own forward runs, with other pads
operations  what that mode does to each operation of torch that pads
forwards    the forward that a changed module carries; it copies and pickles
reading     whether a class's forward pads by itself, read from its code
found       the modules of a model that pad
swap        `set_padding` and its report
"""
