const settings = {}
export const name = settings.database.name
