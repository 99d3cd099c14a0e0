"""Any encoding into somebody else's model, in place: `visionpe.attach`, `detach`, `disabled`.

`visionpe.trace` says where the model's maps, queries and keys sit; nothing here knows a family of
models by name, copies a forward or changes torch.

    verbs          `attach`, `detach`, `disabled`, `status`
    refusals       what cannot be attached, or attached to
    planning       the plan: an encoding for each site
    choosing       `at`: which sites of a trace
    fitting        whether an encoding fits a site, tried before anything is changed
    plan           what is attached where, as a table
    putting        the plan carried out
    attached       the one module that a model gains: it holds the encodings
    base_states    checkpoints without what is attached, loaded into the model
    decay          which parameters timm's optimizers do not decay
    folded         whether `visionpe.fold` has made constants of a model's places
    calling        what one call of the model is given: its frame and the size of its images
    ground         the places of a site's tokens at the size and frame of a call
    heads          queries and keys, brought to `b heads n d` and back
    in_attention   encodings inside a module's own attention
    scores         what they do to queries, keys and logits
    products       products of queries and keys, and what logits are multiplied by
    mha            `F.multi_head_attention_forward`, opened
    in_maps        encodings of what a module returns
    in_convs       the coordinate term of a convolution
    state          what is attached, apart from the model: `state`
    recipes        an encoding as plain data, and back
    files          a state as two files: `save`
    schema         whether data from a file is a recipe
    loading        a state back into a model: `load`
    matching       whether it fits
"""
