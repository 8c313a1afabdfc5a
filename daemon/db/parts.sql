-- What several statements say in the same words: `{vector_counts}` in any of them is the part of that name.

-- name: vector_counts
t.{target_vector} IS NOT NULL AND (
    t.{target_version} = %(signature)s
    -- Another program's, which is left alone unless it is to be replaced.
    OR (NOT %(replace_foreign)s AND starts_with(t.{target_version}, %(ours)s) IS NOT TRUE)
)
