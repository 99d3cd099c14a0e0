"""Where every activation, query and key of somebody else's model sits: `visionpe.trace`.

The model runs once on the rows of the image's pixels and once on their columns, in place of
colours, and every operation is replaced by what it does to *places*. Nothing here knows a family
of models by name.

    codes          how one number stands for a place, for a pair of places or for none
    moves          what happens to places along one dimension
    rules*         what each operation of torch does to places
    following      the dispatch mode that applies the rules
    state          what a run remembers
    calls          the function mode that finds attention
    untouched      the model as a stranger's property: everything is put back
    lattices       rows and columns, fitted to places
    sites          what was found: maps, tokens, convolutions and attention
    making         sites, of what the runs found; layouts: which dimension is what
    run            `trace` itself; refusals its errors, table and picture its result
"""
