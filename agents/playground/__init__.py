"""The playground: optimizers and controllers at work, on test functions and on real training tasks, in a browser.

The modules here are pure and know nothing of Streamlit; `views`, its pages, are thin and know nothing of numbers.
"""
