NAMESPACE_SQL = (
    "coalesce(nullif(payload->>'user_id', ''), nullif(payload->>'agent_id', ''), "
    "nullif(payload->>'run_id', ''), '(none)')"
)
