-- name: assume_workspace
-- Until the end of the transaction, have no more rights than the API has in this workspace.
SELECT set_config('role', 'headrace_api', true), set_config('headrace.workspace_id', %(workspace_id)s, true)
