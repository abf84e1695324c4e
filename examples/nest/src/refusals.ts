import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common'
import type { Response } from 'express'
import mongoose from 'mongoose'

/** Mongoose's messages quote values of fields in the clear, and Nest would log them. Which paths were refused is all that is told. */
@Catch(mongoose.Error.ValidationError)
export class InvalidFilter implements ExceptionFilter {
  catch({ errors }: mongoose.Error.ValidationError, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>()
    response.status(400).json({ invalid: Object.keys(errors) })
  }
}

/** MongoDB's error of a duplicate. */
@Catch(mongoose.mongo.MongoServerError)
export class DuplicateFilter implements ExceptionFilter {
  catch(error: mongoose.mongo.MongoServerError, host: ArgumentsHost): void {
    if (error.code !== 11000) throw error
    host
      .switchToHttp()
      .getResponse<Response>()
      .status(409)
      .json({ taken: Object.keys(error.keyPattern) })
  }
}
