"""The recipe of GARO: a teacher with hindsight, imitated by a recurrent network."""
