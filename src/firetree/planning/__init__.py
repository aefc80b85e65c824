"""What a schedule takes on a network, which to choose, and what more machines would bring.

Prices a model's profile on a `firetree.network`; nothing is sent anywhere.
"""
