const database: string | undefined = process.env.DATABASE
throw new TypeError(`There is no ${database}`)

export {}
