"""Services outside: Corridor, Context7, Wave Control and its owned server. Nothing is asked unless configured."""
