"""What a model already knows about position, and from where: `visionpe.inspect`.

hints       the names that tell what structure does not: all of them, and only here
sources     a source of position, and what it costs
extents     rows, columns and tokens without a place, from the shapes of tables
tables      absolute tables: learned, or fixed as sinusoids are
relative    relative tables, decomposed ones, and networks of offsets
computed    rotations, computed sinusoids, convolutions that stand for position, padding
run         `inspect` and its result; listing and picture show it
"""
