"""What is wrong: rules that are held against what server and kernel say to each other.

A rule says only what the events prove. Where events were lost, what rests on something not seen is left unsaid.
"""
