"""Score-based generative modelling through stochastic differential equations (Song et al. 2021)."""
