"""Predict step times on a network, choose all-reduces, and say what more machines bring.

Everything is simulated on a `firetree.network`; nothing is sent anywhere.
"""
