"""Where every case is and why: facts folded into verdicts and answers."""
