"""Problems with verifiable answers, and the teachers that solve them."""
