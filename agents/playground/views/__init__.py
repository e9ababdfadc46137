"""The pages: what is asked and shown; what is computed lies in the modules beside this folder."""
