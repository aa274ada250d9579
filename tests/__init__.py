"""The specification, room by room: tests/<room>/ mirrors src/farthing/<room>/."""
